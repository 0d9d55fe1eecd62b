export default { title: 'Video' };
