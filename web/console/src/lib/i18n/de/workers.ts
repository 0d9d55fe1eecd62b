export default { title: 'Worker' };
